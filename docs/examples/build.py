"""Builds the worked examples as pages, each a file that opens without openbook: `make examples`."""

import tempfile
from pathlib import Path

from openbook.examples import EXAMPLES, make_example
from openbook.explanation.page.html_file import write_page
from openbook.web.model_runs import page_run


def build(folder: Path) -> None:
    """Train each example, and write the page of its prompt to `folder`/NAME.html."""
    with tempfile.TemporaryDirectory() as models:
        for name, example in EXAMPLES.items():
            model = make_example(name, Path(models, f"{name}.openbook"))
            size, _ = write_page(page_run(model, example.prompt), folder / f"{name}.html")
            print(f"{folder / name}.html: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    build(Path(__file__).parent)
