# One image for every process of docker-compose.yml. Never built by us: no container engine ran
# where this was written; tests/test_compose.py runs the same commands without one.
FROM python:3.11-slim-bookworm

# OpenMP, which the engines' wheels expect of the system.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin modelpilot \
    && install --directory --owner modelpilot --group modelpilot /data /data/run

WORKDIR /app
COPY requirements.lock .
RUN pip install --no-cache-dir --no-deps -r requirements.lock
COPY manage.py pyproject.toml CHANGELOG.md ./
COPY billing billing
COPY inference inference
COPY modelpilot modelpilot
COPY static static
COPY templates templates

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MODELPILOT_DATA=/data MODELPILOT_HOST=0.0.0.0
USER modelpilot
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "manage.py", "up"]
