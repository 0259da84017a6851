"""What a fit says while it trains, and to whom."""

import numpy as np
import pytest

from gpldan_jax import GPLDAN
from gpldan_jax.estimator import trainer
from tests.estimator.test_gpldan import SMALL, same
from tests.training import tiny

AFTER_TRAINING = 2e-3  # of distances: the rounding of inputs that are scaled in float64, through some steps


@pytest.fixture(scope="module")
def pairs():
    split = tiny.dataset(n=60).train
    return split.images, split.texts


def fitted(pairs, verbose=0, **options):
    return GPLDAN(**SMALL, random_state=0, verbose=verbose).fit(*pairs, **options)


def test_a_fit_is_silent_unless_it_is_asked_to_speak(pairs, capsys):
    fitted(pairs)
    assert capsys.readouterr().out == ""


def test_verbose_prints_a_line_for_each_epoch_and_changes_no_bit(pairs, capsys, tmp_path):
    quiet, loud = fitted(pairs), fitted(pairs, verbose=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/4", "epoch 2/4", "epoch 3/4", "epoch 4/4"]
    assert "validation agreement@50 0." in lines[0] and any(line.endswith("*") for line in lines)
    quiet.save(tmp_path / "quiet.safetensors")
    loud.save(tmp_path / "loud.safetensors")
    assert same(quiet, loud)
    assert (tmp_path / "quiet.safetensors").read_bytes() == (tmp_path / "loud.safetensors").read_bytes()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_and_ten_lines_are_printed_elsewhere(is_terminal, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    make_console = trainer.make_console

    def console():
        made = make_console()
        made._force_terminal = made.is_interactive = is_terminal
        return made

    monkeypatch.setattr(trainer, "make_console", console)
    with trainer.fit_progress(1, epochs=40, steps=3, criterion="last") as (on_epoch, on_step):
        for epoch in range(1, 41):
            on_step(3 * epoch)
            on_epoch({"epoch": epoch, "loss": 1.0, "seconds": 0.1})
    out = capsys.readouterr().out
    if is_terminal:
        assert "120/120" in out and "epoch 40/40" in out and "\x1b[" in out
    else:
        assert out.count("\n") == 10 and "epoch 4/40  loss 1.0000" in out and "\x1b[" not in out


def test_callbacks_take_a_record_of_their_own_for_each_epoch(pairs):
    seen, spoilt = [], []

    def spoil(record):
        record.clear()
        spoilt.append(record)

    model = fitted(pairs, callbacks=(callback for callback in (spoil, seen.append)))
    assert len(spoilt) == 4
    assert [{name: value for name, value in record.items() if name != "seconds"} for record in seen] == model.history_
    assert all(record["seconds"] >= 0 for record in seen)


def test_an_error_of_a_callback_ends_the_fit_and_leaves_what_was_fitted_before(pairs):
    model = fitted(pairs)
    before = model.model_

    class PrunedError(Exception):
        pass

    def prune(record):
        if record["epoch"] == 2:
            raise PrunedError

    with pytest.raises(PrunedError):
        model.fit(*pairs, callbacks=[prune])
    assert model.model_ is before


def test_folds_of_other_sizes_are_no_other_compilation(pairs):
    """Each fit of a grid search has other pairs; the program of a step is compiled once."""
    images, texts = np.tile(pairs[0], (2, 1)), np.tile(pairs[1], (2, 1))
    from gpldan_jax.training import train_step

    fitted((images[:100], texts[:100]))
    programs = train_step._cache_size()
    for n, alpha in ((90, 1), (97, 0.5), (120, 2.0)):
        GPLDAN(**SMALL, alpha=alpha, random_state=0).fit(images[:n], texts[:n])
    assert train_step._cache_size() == programs


@pytest.mark.parametrize("spoil", [lambda x: 1.7e9 + x, lambda x: 1e-42 * x], ids=["large offset", "tiny"])
def test_an_offset_and_a_scale_change_nothing(pairs, spoil, tmp_path):
    images, texts = (np.asarray(side, float) for side in pairs)
    expected = fitted((images, texts)).distances(images, texts)
    model = fitted((spoil(images), spoil(texts)))
    assert model.model_.standardization.image_mean.dtype == np.float64
    model.save(tmp_path / "model.safetensors")
    for of in (model, GPLDAN.load(tmp_path / "model.safetensors")):
        np.testing.assert_allclose(of.distances(spoil(images), spoil(texts)), expected, atol=AFTER_TRAINING)
        one = of.distances(spoil(images[:1]), spoil(texts[:1]))  # as float32 would have it, all rows are one
        np.testing.assert_allclose(one, expected[:1, :1], atol=AFTER_TRAINING)
    assert model.score(spoil(images), spoil(texts)) == pytest.approx(fitted(pairs).score(images, texts), abs=0.02)


def test_constant_features_are_refused_and_others_are_counted(pairs, capsys):
    images, texts = pairs
    with pytest.raises(ValueError, match=r"GPLDAN.fit train texts: all 8 columns are constant, so there is nothing"):
        fitted((images, np.full((60, 8), 0.1)))
    images = images.copy()
    images[:, :2] = 3
    fitted((images, texts), verbose=2)
    assert "no information in 2 of 10 image columns (constant in training)\n" in capsys.readouterr().out
