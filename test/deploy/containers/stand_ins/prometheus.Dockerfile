FROM chatify-stand-in-debian
RUN apt-get install -y -qq --no-install-recommends prometheus >/dev/null && mkdir -p /prometheus && chown nobody /prometheus
USER nobody
VOLUME /prometheus
EXPOSE 9090
CMD ["prometheus"]
