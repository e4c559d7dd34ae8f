FROM chatify-stand-in-debian
RUN apt-get install -y -qq --no-install-recommends haproxy >/dev/null
STOPSIGNAL SIGUSR1
USER haproxy
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
