"""What is said while XLA compiles a large program."""

import threading

import jax
import jax.numpy as jnp
import pytest

from gpldan_jax.training import announce_compilation, compilation


@pytest.fixture
def impatient(monkeypatch):
    """A small program counts as a large one, and is announced at once."""
    monkeypatch.setattr(compilation, "_SHORT", 0.0)
    monkeypatch.setattr(compilation, "_CACHE_SECONDS", 0.0)


@jax.jit
def train_something(x):
    return jnp.sort(x) @ x


def test_a_program_is_announced_before_it_is_compiled(impatient):
    said, done = [], threading.Event()

    def say(line):
        said.append(line)
        done.set()

    with announce_compilation(say):
        for size in range(3, 40):  # the timer may lose a race against a small program, not against all
            jax.block_until_ready(train_something(jnp.ones(size)))
            if done.is_set():
                break
    assert said and said[0].startswith("compiling (about ") and said[0].endswith(" s, once)")


def test_nothing_is_said_of_small_programs_nor_after_the_block():
    said = []
    with announce_compilation(said.append):
        train_something(jnp.ones(2))
    jax.jit(lambda x: x + 3)(1.0)
    assert not said and compilation._line(0.01) == ""


def test_other_programs_are_not_announced(impatient):
    said = []
    with announce_compilation(said.append):
        for size in range(3, 9):
            jax.jit(lambda x: jnp.sort(x) @ x)(jnp.ones(size)).block_until_ready()
    assert not said


def test_the_seconds_are_estimated_from_the_lowering_on_a_cpu(monkeypatch):
    assert compilation._line(0.5) == "compiling (about 10 s, once)"
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert compilation._line(0.5) == "compiling (once)"
