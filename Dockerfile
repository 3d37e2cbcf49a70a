# heed with all extras, on the CPU: docker build -t heed . && docker run --rm -v "$PWD:/work" heed train my-texts/
# The image is not built by the tests, only read by one of them. For CUDA leave out the index of CPU wheels.
FROM python:3.12-slim

RUN useradd --create-home heed
WORKDIR /opt/heed
COPY pyproject.toml constraints.txt README.md LICENSE MANIFEST.in ./
COPY src ./src
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt '.[all]'

USER heed
WORKDIR /work
ENTRYPOINT ["heed"]
CMD ["--help"]
