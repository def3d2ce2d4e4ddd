# Image of drivers and executors on Kubernetes. The tests do not build it: docs/operations.md says so, and what to look at.
#   docker build -t registry.example.com/vizrec-spark:latest .
ARG PYTHON=3.11-slim-bookworm
ARG SPARK=4.2.0-scala2.13-java17-ubuntu

# For its /opt/spark and the entry point that Spark on Kubernetes expects; its own Python is too old.
FROM apache/spark:${SPARK} AS spark

FROM python:${PYTHON}
RUN apt-get update \
 && apt-get install -y --no-install-recommends openjdk-17-jre-headless tini procps \
 && rm -rf /var/lib/apt/lists/*
COPY --from=spark /opt/spark /opt/spark
COPY --from=spark /opt/entrypoint.sh /opt/entrypoint.sh

WORKDIR /opt/vizrec_spark
COPY setup.py pyproject.toml constraints.txt README.md LICENSE MANIFEST.in ./
COPY vizrec_spark vizrec_spark
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir -c constraints.txt '.[openvino,onnx,tune]'
ENV SPARK_HOME=/opt/spark \
    PATH=/opt/venv/bin:/opt/spark/bin:$PATH \
    PYSPARK_PYTHON=/opt/venv/bin/python \
    PYSPARK_DRIVER_PYTHON=/opt/venv/bin/python

# Delta Lake, and the connector of the object store: hadoop-aws for s3a://, hadoop-azure for abfss://, hadoop-gcp for
# gs://, all of the version of Hadoop that Spark brings. Fetched now, so that a pod needs no network to start.
ARG PACKAGES=io.delta:delta-spark_4.2_2.13:4.4.0,org.apache.hadoop:hadoop-aws:3.5.0
RUN /opt/venv/bin/python -c "from pyspark.sql import SparkSession; \
      SparkSession.builder.master('local[1]').config('spark.jars.packages', '${PACKAGES}') \
      .config('spark.jars.ivy', '/tmp/ivy').getOrCreate().stop()" \
 && cp -n /tmp/ivy/jars/*.jar /opt/spark/jars/ \
 && rm -rf /tmp/ivy

COPY jobs jobs
COPY conf conf
RUN useradd --uid 185 --gid 0 --create-home spark && mkdir -p work && chown -R 185:0 work
USER 185
ENTRYPOINT ["/opt/entrypoint.sh"]
