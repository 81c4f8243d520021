"""The page in a real browser, from a file: no requests, filters that count right, light and dark, narrow and printed, hostile texts.

One headless Chromium for the module; each test gets a page of its own in it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import made_up_page
import pytest
from test_page import hostile

from mixray.report import page, responses
from mixray.report.responses import Responses
from mixray.store import Store

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="there is no chromium on this machine"),
]

Open = Callable[..., Any]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
# Text is never smaller than this against its background (WCAG 2.2, 1.4.3, level AA).
LEAST_CONTRAST = 4.5


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Responses]:
    """The file of a rich report, its content and its responses."""
    folder = tmp_path_factory.mktemp("browser")
    store = Store(str(folder / "runs"))
    arms = made_up_page.arms(store, scale=0.01, seeds=(0, 1))
    content = made_up_page.report(store, arms, num_resamples=100)
    told = made_up_page.told(store, arms, content)
    path = folder / "index.html"
    path.write_text(page.render(content, told), encoding="utf-8")
    return path, content, told


@pytest.fixture
def show(browser: Any) -> Iterator[Open]:
    """Return what opens a file; afterwards nothing was asked of the network, and nothing was complained of."""
    contexts, wrong = [], []

    def opened(path: Path, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": WIDE, **settings})
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
        shown.goto(path.as_uri())
        if settings.get("java_script_enabled", True) and shown.locator("#browser").count():
            shown.wait_for_selector("#browser:not([hidden])")
        return shown

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def found(shown: Any) -> int:
    """Return how many problems the browser says fit."""
    number = re.match(r"([\d,]+) of", shown.inner_text(".count"))
    assert number is not None
    return int(number[1].replace(",", ""))


def outcomes(told: Responses, problem: dict[str, Any], student: str) -> dict[str, str]:
    return {
        arm["label"]: response["outcome"]
        for arm, response in zip(told.arms, problem["responses"], strict=True)
        if arm["student"] == student
    }


def test_filters_count_as_the_rows_say(made: tuple[Path, dict[str, Any], Responses], show: Open) -> None:
    path, content, told = made
    shown = show(path)
    problems, student = told.problems, content["groups"][0]["student"]
    assert found(shown) == len(problems)
    for benchmark in content["groups"][0]["scores"]:
        shown.get_by_label("benchmark", exact=True).select_option(benchmark)
        assert found(shown) == sum(problem["benchmark"] == benchmark for problem in problems)
    shown.get_by_role("button", name="Clear filters").click()
    shown.get_by_label("level", exact=True).select_option("3")
    shown.get_by_label("subject", exact=True).select_option("Algebra")
    assert found(shown) == sum((problem["level"], problem["subject"]) == (3, "Algebra") for problem in problems)
    shown.get_by_role("button", name="Clear filters").click()

    shown.locator("#browser details > summary").first.click()
    shown.locator("select[data-arm='mix-long-0.2']").select_option("right")
    shown.locator("select[data-arm='short']").select_option("wrong")
    told_of = [outcomes(told, problem, student) for problem in problems]
    expected = sum((of["mix-long-0.2"], of["short"]) == ("right", "wrong") for of in told_of)
    assert found(shown) == expected > 0
    shown.locator("select[data-arm='short']").select_option("not right")
    assert found(shown) == sum(of["mix-long-0.2"] == "right" and of["short"] != "right" for of in told_of)
    shown.get_by_role("button", name="Clear filters").click()

    for pattern, fits in {
        "arms disagree": lambda of: len({word == "right" for word in of.values()}) == 2,
        "all right": lambda of: set(of.values()) == {"right"},
        "none right": lambda of: "right" not in of.values(),
        "some truncated": lambda of: "truncated" in of.values(),
        "untouched right, some arm wrong": lambda of: of["untouched"] == "right" and set(of.values()) != {"right"},
    }.items():
        shown.get_by_label("pattern", exact=True).select_option(pattern)
        assert found(shown) == sum(map(fits, told_of)), pattern
    shown.get_by_role("button", name="Clear filters").click()

    shown.get_by_label("search", exact=True).fill("N = 7 \\)")
    assert found(shown) == sum("n = 7 \\)" in problem["question"] for problem in problems)
    shown.get_by_label("search", exact=True).fill("no such words anywhere")
    assert found(shown) == 0
    assert shown.locator(".shown .response").count() == 0


def test_the_browser_is_worked_by_keys(made: tuple[Path, dict[str, Any], Responses], show: Open) -> None:
    path, content, told = made
    shown = show(path)
    shown.locator("body").press("/")
    assert shown.evaluate("document.activeElement.type") == "search"
    shown.locator(".list").focus()
    for keys, place in ((["ArrowDown", "j"], 2), (["k"], 1), (["End"], len(told.problems) - 1), (["Home"], 0), (["PageDown"], 10)):
        for key in keys:
            shown.keyboard.press(key)
        selected = shown.locator("[role=option][aria-selected=true]")
        assert selected.count() == 1
        assert shown.locator(".list").get_attribute("aria-activedescendant") == selected.get_attribute("id")
        assert shown.inner_text(".shown h3").startswith(told.problems[place]["problem_id"])
    first = told.problems[10]["responses"][0]
    assert shown.locator(".shown .response .text").first.text_content() == first["text"]
    labels = [row["label"] for row in content["groups"] if row["student"] == content["groups"][0]["student"]]
    assert [text.split(" ")[0] for text in shown.locator(".shown .response h4").all_inner_texts()] == labels


def test_a_number_shows_where_it_comes_from(made: tuple[Path, dict[str, Any], Responses], show: Open) -> None:
    path, content, _ = made
    shown = show(path)
    shown.locator("table a.src").first.click()
    dialog = shown.locator("dialog[open]")
    assert content["arms"][0]["scores_artefact"] in dialog.inner_text()
    shown.keyboard.press("Escape")
    assert shown.locator("dialog[open]").count() == 0


def test_without_scripts_the_tables_are_there_and_a_note_tells_where_the_rows_are(
    made: tuple[Path, dict[str, Any], Responses], show: Open
) -> None:
    path, content, _ = made
    shown = show(path, java_script_enabled=False)
    text = shown.locator("main").inner_text()
    for row in content["groups"]:
        assert f"{100 * row['overall']['accuracy']:.1f} %" in text
    assert shown.locator("#browser-note").is_visible()
    assert not shown.locator("#browser").is_visible()
    assert shown.locator("table").first.is_visible()
    assert shown.locator(".case .response").first.is_visible()
    target = shown.locator("table a.src").first.get_attribute("href")
    shown.goto(path.as_uri() + target)
    marked = shown.locator(target)
    assert marked.is_visible()
    assert shown.locator(f"{target}:target").count() == 1


CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgb(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = {};
  for (const element of document.querySelectorAll('main *, header *')) {
    const svg = element.tagName === 'text';
    if (!svg && ![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(rgb(svg ? style.fill : style.color)), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const told = (each) => each.tagName + '.' + (each.getAttribute('class') || '');
    const name = told(element) + ' in ' + told(element.parentElement);
    found[name] = Math.min(found[name] ?? 99, contrast);
  }
  return found;
}"""


def test_light_and_dark_differ_and_text_stands_out_in_both(made: tuple[Path, dict[str, Any], Responses], show: Open) -> None:
    path, _, _ = made
    colours = {}
    for scheme in ("light", "dark"):
        shown = show(path, color_scheme=scheme)
        colours[scheme] = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        contrasts = shown.evaluate(CONTRASTS)
        assert len(contrasts) > 30
        assert {name: round(value, 2) for name, value in contrasts.items() if value < LEAST_CONTRAST} == {}, scheme
    assert colours["light"] != colours["dark"]


def test_the_theme_can_be_chosen_and_is_kept(made: tuple[Path, dict[str, Any], Responses], show: Open) -> None:
    path, _, _ = made
    shown = show(path, color_scheme="light")
    before = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    button = shown.get_by_role("button", name="Theme")
    for _ in range(2):
        button.click()
    assert button.inner_text() == "Theme: dark"
    dark = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != before
    shown.reload()
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_nothing_is_wider_than_a_phone(made: tuple[Path, dict[str, Any], Responses], show: Open) -> None:
    path, _, _ = made
    shown = show(path, viewport=NARROW)
    shown.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")
    assert shown.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    wider = "[...document.querySelectorAll('main > section > *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).length"
    assert shown.evaluate(wider) == 0


def test_it_prints_unfolded_on_pages(made: tuple[Path, dict[str, Any], Responses], show: Open) -> None:
    path, _, _ = made
    shown = show(path)
    printed = shown.pdf(format="A4", print_background=True)
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 5
    shown.emulate_media(media="print")
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.locator("details:not([open]):not(.fold)").count() == 0
    assert not shown.locator("#browser").is_visible()
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.locator("details:not([open]):not(.fold)").count() > 5


def test_it_is_told_to_screen_readers(made: tuple[Path, dict[str, Any], Responses], show: Open) -> None:
    path, _, _ = made
    shown = show(path)
    levels = shown.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert shown.locator("table:not(:has(caption))").count() == 0
    assert shown.locator("th:not([scope])").count() == 0
    assert shown.locator("figure svg:not([aria-label])").count() == 0
    assert (
        shown.locator("select:not([aria-label]), input:not([aria-label])").evaluate_all("all => all.filter((e) => !e.labels.length).length")
        == 0
    )


def test_hostile_texts_are_shown_as_texts(store: Store, tmp_path: Path, show: Open) -> None:
    arms, content = hostile(store)
    path = tmp_path / "hostile.html"
    path.write_text(page.render(content, responses.gather(arms, content)), encoding="utf-8")
    shown = show(path, viewport=NARROW)
    shown.locator(".list").focus()
    for text in made_up_page.HOSTILE:
        told = shown.locator(".shown .response .text").first.text_content()
        assert told[:20] == re.sub("[\0\a]", lambda sign: chr(0x2400 + ord(sign[0])), text)[:20]
        assert shown.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        shown.keyboard.press("ArrowDown")
    assert shown.evaluate("window.hacked") is None
    assert shown.locator("script").count() == 2
    assert shown.locator("img").count() == 0


def test_a_browser_that_cannot_unpack_says_so(made: tuple[Path, dict[str, Any], Responses], browser: Any) -> None:
    path, _, _ = made
    context = browser.new_context()
    context.add_init_script("delete window.DecompressionStream")
    shown = context.new_page()
    shown.goto(path.as_uri())
    shown.wait_for_function("document.getElementById('browser-note').textContent.includes('cannot be shown by this browser')")
    context.close()
