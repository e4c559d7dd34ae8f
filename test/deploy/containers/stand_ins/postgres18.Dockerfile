# Debian's psql and pg_isready, with the server that chatify embeds.
FROM chatify-stand-in-postgresql
COPY native /opt/postgresql-18
ENV PATH=/opt/postgresql-18/bin:$PATH PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
