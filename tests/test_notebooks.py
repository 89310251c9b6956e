"""The notebooks of docs/examples run from their first cell to their last; each compares its own numbers."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    pages = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "text/html" in output.get("data", {})
    ]
    assert pages and all("<iframe" in page["data"]["text/html"] for page in pages)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5
    for path in NOTEBOOKS:
        assert all(not cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells), (
            f"{path.name}: clear it"
        )
