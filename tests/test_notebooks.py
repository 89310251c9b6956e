"""The notebooks of docs/examples run from their first cell to their last; each compares its own numbers."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "examples").glob("*.ipynb"))


def outputs_of(path, folder, monkeypatch):
    """What the cells of a notebook give when it runs in a folder."""
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.delenv("SMOLLM2", raising=False)
    outputs = outputs_of(path, tmp_path, monkeypatch)
    pages = [output for output in outputs if "text/html" in output.get("data", {})]
    assert pages and all("<iframe" in page["data"]["text/html"] for page in pages)


@pytest.mark.skipif(
    not os.environ.get("SMOLLM2"),
    reason="give the path of SmolLM2's model file in the environment variable SMOLLM2 (docs/assistant.md)",
)
def test_the_questions_are_put_to_smollm2_too(tmp_path, monkeypatch):
    monkeypatch.setenv("SMOLLM2", str(Path(os.environ["SMOLLM2"]).resolve()))
    path = next(path for path in NOTEBOOKS if path.stem == "questions")
    tables = [output["text"] for output in outputs_of(path, tmp_path, monkeypatch) if "text" in output]
    assert any("decoder.blocks.0.cross_attention.key.weight" in table for table in tables)
    assert any("decoder.blocks.29.feed_forward.down.weight  576 × 1,536" in table for table in tables)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5
    for path in NOTEBOOKS:
        assert all(not cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells), (
            f"{path.name}: clear it"
        )
