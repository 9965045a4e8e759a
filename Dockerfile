# One image for GPU and CPU. The build of torch inside is the only difference.
#
#   docker build -t inspyrenet-api .                                  torch from the default index: the CUDA build on x86-64
#   docker build -t inspyrenet-api --build-arg TORCH_INDEX=URL .      torch from PyTorch's own index, CPU or a CUDA version
#   docker build -t inspyrenet-api --build-arg WEIGHTS=base .         with the official checkpoint inside
#
# WEIGHTS is none (the default), base, fast, base-nightly or dummy. The image is set up to serve with these weights: fast and
# base-nightly set INSPYRENET_MODE; dummy sets INSPYRENET_WEIGHTS=/opt/weights/dummy.pth (random weights, for tests).
#
#   docker run --read-only --mount type=tmpfs,target=/var/cache/inspyrenet -p 8080:8080 inspyrenet-api
#   docker run inspyrenet-api serve --help                            the program's commands follow the name of the image
#
# The service writes only to /var/cache/inspyrenet, so only this directory must be writable. It looks for checkpoints in
# /opt/weights, where they can be built in or mounted. With WEIGHTS=none, /opt/weights is a link to the directory above, and
# a missing checkpoint is downloaded there.

ARG WEIGHTS=none

FROM docker.io/library/python:3.11-slim-bookworm AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    # where libraries keep their caches and temporary files
    HOME=/var/cache/inspyrenet \
    XDG_CACHE_HOME=/var/cache/inspyrenet \
    TMPDIR=/var/cache/inspyrenet \
    # where transparent-background keeps its checkpoints, in .transparent-background/
    TRANSPARENT_BACKGROUND_FILE_PATH=/opt/weights \
    # so that the program needs no shell to find its modules
    PYTHONPATH=/app
WORKDIR /app


FROM base AS dependencies
# TORCH_INDEX: the package index that torch comes from, instead of the default one. PIP_ARGS: more arguments for every
# pip install.
ARG TORCH_INDEX=""
ARG PIP_ARGS=""
ENV HOME=/root TMPDIR=/tmp PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml constraints.txt ./
COPY deploy/fetch_u2netp.py deploy/
# What is needed to serve, traces included, and no more: a platform may set OTEL_* variables by itself, and the service does not
# start without what they ask for. docs/image.md says what is left out, and why nothing misses it:
# - transparent-background is installed without its requirements, because only the modules of its network are imported;
# - torch comes without those that only its compilers import, and without its own tests, headers and tools.
# Bytecode is compiled here, in a form that does not depend on the modification time of the source: a layer keeps whole seconds
# only, and some builders round them up. Python would take such bytecode for stale, and compile half of torch at every start,
# because it cannot store the result in a read-only file system. (compileall fails if one file of a package is no Python.)
RUN python3 -m venv /opt/venv \
    && python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*(line for line in project["dependencies"] + project["optional-dependencies"]["traces"] if not line.startswith(("transparent-background", "torchvision"))), sep="\n")' \
       > requirements.txt \
    && python -m pip install --constraint constraints.txt pip setuptools wheel \
    && python -m pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} ${PIP_ARGS} torch \
    && python -m pip install --constraint constraints.txt ${PIP_ARGS} --requirement requirements.txt \
    && python -m pip install --constraint constraints.txt ${PIP_ARGS} --no-deps --no-build-isolation transparent-background \
    && python deploy/fetch_u2netp.py -- ${PIP_ARGS} \
    && python -m pip uninstall --yes sympy mpmath networkx jinja2 markupsafe wheel pip \
    && cd /opt/venv/lib/python3*/site-packages \
    && (cd torch && rm -rf test include share bin/*[Tt]est* bin/protoc*) \
    && { python -m compileall -qq -f --invalidation-mode unchecked-hash . || test -e torch/__pycache__; }


FROM base AS native
# The library of service/native, with a compiler that no other stage has. Where it cannot be compiled setup.py goes on without
# it, and an image does not: the last line fails.
ENV HOME=/root TMPDIR=/tmp PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
ARG PIP_ARGS=""
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY constraints.txt ./
RUN python3 -m venv /opt/venv && python -m pip install --constraint constraints.txt ${PIP_ARGS} setuptools
COPY setup.py ./
COPY service/native/*.c service/native/*.h service/native/
RUN packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && python setup.py build_ext --build-temp /tmp/objects --build-lib "/stage$packages" \
    && strip --strip-unneeded "/stage$packages"/inspyrenet_native.*.so


FROM base AS sbom
# The list of everything inside, as CycloneDX: docker run --rm --entrypoint cat inspyrenet-api sbom.cdx.json
ARG PIP_ARGS=""
ENV HOME=/root TMPDIR=/tmp PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY --from=dependencies /opt/venv /opt/venv
COPY pyproject.toml constraints.txt ./
RUN /usr/local/bin/python3 -m venv /tmp/tool \
    && /tmp/tool/bin/python -m pip install --constraint constraints.txt ${PIP_ARGS} cyclonedx-bom \
    && /tmp/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate \
       --output-file /sbom.cdx.json /opt/venv/bin/python


FROM base AS weights
ARG WEIGHTS
ENV HOME=/root TMPDIR=/tmp XDG_CACHE_HOME=/tmp
COPY --from=dependencies /opt/venv /opt/venv
COPY service service
COPY metrics metrics
COPY supervisor supervisor
# The command stores the checkpoint's hash beside it, valid for the file's modification time. A layer keeps that time in
# whole seconds only. So the time is cut to seconds and the command runs again, which stores the hash for the new time. Then
# no container has to read the whole file to verify it.
RUN mkdir -p /stage/opt \
    && case "$WEIGHTS" in \
         none) ln -s /var/cache/inspyrenet /stage/opt/weights ;; \
         dummy) mkdir /stage/opt/weights && python -m service weights --dummy /stage/opt/weights/dummy.pth ;; \
         *) export TRANSPARENT_BACKGROUND_FILE_PATH=/stage/opt/weights \
            && python -m service weights --mode "$WEIGHTS" \
            && touch --date="@$(date +%s)" "$TRANSPARENT_BACKGROUND_FILE_PATH"/.transparent-background/*.pth \
            && python -m service weights --mode "$WEIGHTS" ;; \
       esac \
    && chmod -R a+rX /stage


# The settings that belong to each value of WEIGHTS.
FROM base AS with-none
FROM base AS with-base
FROM base AS with-fast
ENV INSPYRENET_MODE=fast
FROM base AS with-base-nightly
ENV INSPYRENET_MODE=base-nightly
FROM base AS with-dummy
ENV INSPYRENET_WEIGHTS=/opt/weights/dummy.pth


FROM with-${WEIGHTS}
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /var/cache/inspyrenet --shell /usr/sbin/nologin inspyrenet \
    && install --directory --owner=10001 --group=0 --mode=2775 /var/cache/inspyrenet \
    && ln --symbolic /app/inspyrenet /usr/local/bin/inspyrenet
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=native /stage /
COPY --from=weights /stage /
COPY --from=sbom /sbom.cdx.json ./
COPY LICENSE NOTICE inspyrenet ./
COPY metrics metrics
COPY supervisor supervisor
COPY service service
# The standard library too: the base image has it without bytecode.
RUN python -m compileall -q -f --invalidation-mode unchecked-hash . \
    && { python -m compileall -qq -f --invalidation-mode unchecked-hash -x '/(test|tests|idlelib|lib2to3|site-packages|dist-packages)/' \
           "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true; }
USER 10001:0

# VERSION and REVISION (the commit) are for whoever publishes an image.
ARG VERSION="" REVISION=""
LABEL org.opencontainers.image.title="inspyrenet-api" \
      org.opencontainers.image.description="Background removal as an HTTP service that never lies about being warm" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

EXPOSE 8080
# Neither needs a shell. Python is the first process of the container, and gets SIGTERM. -P keeps the current directory out of
# the import path.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python", "-P", "-m", "service", "check"]
ENTRYPOINT ["python", "-P", "-m", "service"]
