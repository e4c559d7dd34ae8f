FROM chatify-stand-in-debian
COPY bun /usr/local/bin/bun
RUN groupadd --gid 1000 bun && useradd --uid 1000 --gid 1000 --create-home bun
ENV BUN_RUNTIME_TRANSPILER_CACHE_PATH=0
WORKDIR /home/bun/app
CMD ["bun"]
