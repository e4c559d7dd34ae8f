# HAProxy 3.2, as docker-compose.yml names, from Debian's next release: this release's version lacks `init-state` and routes clients to pods that
# are not ready. Unpacked into an image of its own, since the two releases do not mix.
FROM chatify-stand-in-debian AS next
RUN echo "deb http://deb.debian.org/debian forky main" >/next.list && touch /status && mkdir -p /next/usr/lib /next/usr/lib64 /next/usr/sbin \
  && for name in lib lib64 sbin; do ln -s usr/$name /next/$name; done \
  && next="apt-get -qq -o Dir::Etc::SourceParts=/none -o Dir::Etc::SourceList=/next.list -o Dir::State::status=/status -o Acquire::Check-Valid-Until=false" \
  && $next update && $next install -y --no-install-recommends --download-only haproxy >/dev/null \
  && for package in /var/cache/apt/archives/*.deb; do dpkg-deb --extract "$package" /next; done \
  && /usr/sbin/chroot /next /usr/sbin/haproxy -v

FROM scratch
COPY --from=next /next /
STOPSIGNAL SIGUSR1
USER 99:99
CMD ["/usr/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
