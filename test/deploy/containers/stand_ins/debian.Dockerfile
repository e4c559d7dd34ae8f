# The debootstrap image, with the host's CA certificates: its network may intercept TLS.
FROM chatify-stand-in-root
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN apt-get update -qq
