"""Numbers that the page itself computes, from the trees of their formulas, for every architecture that there is."""

import pytest
from paged import paged
from traced_examples import ARCHITECTURES

from openbook.explanation.page import carried
from strategies import ENCODER_DECODERS

EVERYTHING = ARCHITECTURES | ENCODER_DECODERS

DERIVE_ALL = """
async ([data, slices, most]) => {
    for (const [id, text] of [["openbook-data", data], ["openbook-slices", slices]]) {
        document.getElementById(id)?.remove();
        const holder = document.createElement("template");
        holder.id = id;
        holder.textContent = text;
        document.body.append(holder);
    }
    const { openCarried } = await import("./carried.js");
    const page = await openCarried();
    const found = { derived: 0, wrong: [], texts: {} };
    for (const number of [0, 1]) {
        const step = await page.step(number);
        for (const { path, shape } of step.quantities) {
            const count = shape.reduce((a, b) => a * b, 1);
            const by = Math.max(1, count / most);
            for (let at = count - 1; at >= 0; at -= by) {
                let rest = Math.floor(at);
                const index = shape.map(() => 0);
                for (let axis = shape.length - 1; axis >= 0; axis--) {
                    index[axis] = rest % shape[axis];
                    rest = Math.floor(rest / shape[axis]);
                }
                const one = await page.derive(number, path, index);
                found.derived++;
                const { recomputed, recorded } = one;
                if (!(one.relative_error <= 1e-4)) found.wrong.push([number, path, index, recomputed, recorded]);
                if (at === count - 1) found.texts[`${number} ${path}`] = [
                    one.numbers.text, one.operands.map(({ symbols, count }) => `${symbols} ${count}`)];
            }
        }
    }
    return found;
}
"""


@pytest.fixture(scope="module")
def modules(browser, decoder_page):
    """An open page, whose modules can be imported."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(decoder_page)
    page.wait_for_selector("body[data-state=drawn]")
    yield page
    context.close()


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_page_derives_as_python_does(modules, name, monkeypatch):
    monkeypatch.setattr(carried, "_views", lambda page: ())
    page = paged(EVERYTHING[name], max_tokens=2)
    data, slices, left_out = carried.carry(page, 10**8, "file")
    assert not left_out
    found = modules.evaluate(DERIVE_ALL, [data, slices, 12])
    assert found["wrong"] == [] and found["derived"] > 500
    different = []
    for key, (text, operands) in found["texts"].items():
        step, path = key.split()
        index = [length - 1 for length in page.run.trace(int(step))[path].value.shape]
        expected = page.derivation(int(step), path, index)
        listed = [f"{each['symbols']} {each['count']}" for each in expected["operands"]]
        if text != expected["numbers"]["text"]:
            different.append((key, text, expected["numbers"]["text"]))
        if sorted(operands) != sorted(listed):  # each reads them in its own order
            different.append((key, operands, listed))
    assert not different
