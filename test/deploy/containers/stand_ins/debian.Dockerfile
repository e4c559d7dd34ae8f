# What debootstrap made, with what this machine trusts: its network may look into TLS with a certificate of its own.
FROM chatify-stand-in-root
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN apt-get update -qq
