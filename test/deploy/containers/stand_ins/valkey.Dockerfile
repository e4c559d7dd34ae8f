FROM chatify-stand-in-debian
RUN apt-get install -y -qq --no-install-recommends redis-server >/dev/null \
 && ln -s redis-server /usr/bin/valkey-server && ln -s redis-cli /usr/bin/valkey-cli
EXPOSE 6379
CMD ["valkey-server"]
