# The sample app as an image, for clusters with real nodes: `make images` makes it of a static program.
FROM scratch
COPY sample-app /sample-app
ENV ADDRESS=0.0.0.0
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/sample-app"]
