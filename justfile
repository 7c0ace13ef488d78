# Short names for what is done often. Everything runs from .venv, which `python3 dev.py test` makes.
set positional-arguments

bin := ".venv/bin"
compile := ".venv/bin/uv pip compile --universal --python-version 3.11 --no-annotate --no-emit-index-url --no-header --generate-hashes --constraint requirements-limits.txt"

# list the targets
default:
    @just --list

# the tests that need nothing but pip
test *arguments:
    {{bin}}/python -m pytest "$@"

# style, and its repair
lint:
    {{bin}}/ruff check --fix
    {{bin}}/ruff format

# types
types:
    {{bin}}/mypy

# the direction of imports and the purity of the core
contracts:
    {{bin}}/lint-imports

# the tests on Apache Kafka and redis-server
real *arguments:
    {{bin}}/python -m pytest -m real "$@"

# the pipeline on seeded traffic, on the embedded stack
demo *arguments:
    {{bin}}/fraud demo "$@"

# one measurement, by its name in docs/measurements.md
bench name *arguments:
    {{bin}}/python -m ops.bench "$@"

# hold the real stack up until Ctrl-C
stack-real *arguments:
    {{bin}}/python -m ops.stack.real "$@"

# hold the embedded stack up until Ctrl-C
stack-embedded *arguments:
    {{bin}}/python -m ops.stack.embedded "$@"

# resolve the lock files again, each for every Python and platform
lock:
    {{compile}} --output-file requirements.lock pyproject.toml
    {{compile}} --extra embedded --output-file requirements-demo.lock pyproject.toml
    {{compile}} --all-extras --output-file requirements-dev.lock pyproject.toml
    {{bin}}/python -m ops.wheels

# what .ci/run runs
ci:
    bash .ci/run
