"""The command that makes the README's figures of several seeds."""

import json

from experiments import summarize


def write_run(folder, dataset, average, metric="map@50"):
    folder.mkdir()
    figures = {"image_to_text": average + 0.1, "text_to_image": average - 0.1, "average": average}
    results = {"dataset": dataset, "test": {metric: figures}, "chance": {metric: 0.125}}
    (folder / "results.json").write_text(json.dumps(results))
    return str(folder)


def test_mean_and_standard_deviation_by_hand(tmp_path, capsys):
    folders = [write_run(tmp_path / str(i), "mine", average) for i, average in enumerate([0.5, 0.6, 0.7])]
    folders.append(write_run(tmp_path / "bare", "other", 0.25, metric="recall@10"))
    assert summarize.main(folders) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| mine | map@50 | 3 | 0.700 ± 0.100 | 0.500 ± 0.100 | 0.600 ± 0.100 | 0.125 |"
    assert lines[3] == "| other | recall@10 | 1 | 0.350 | 0.150 | 0.250 | 0.125 |"


def test_a_folder_that_is_no_finished_run_is_named(tmp_path, capsys):
    assert summarize.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path} holds no results.json: not a run, or not finished\n"
