FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE alembic.ini ./
COPY app app
COPY migrations migrations
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --constraint constraints.txt --editable '.[onnx,xgboost,lightgbm]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home /var/lib/switchyard --create-home switchyard
COPY --from=build /venv /venv
COPY --from=build /src /src
ENV PATH=/venv/bin:$PATH OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 \
    MLOPS_BASE_PATH=/var/lib/switchyard SWITCHYARD_HOST=0.0.0.0 SWITCHYARD_PORT=8000
USER switchyard
# The spool lies here: keep it on a volume.
VOLUME /var/lib/switchyard
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:8000/readyz', timeout=2)"]
ENTRYPOINT ["switchyard"]
CMD ["serve"]
