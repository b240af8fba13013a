"""The page in a real browser: nothing asked for, nothing complained about, nothing cut off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cake_onnx.report.html import render_html
from cake_onnx.report.model import Report
from cake_onnx.report.pictures import Pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MakeReport = Callable[..., Report]
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip
HOSTILE = "<script>console.error('escaped')</script><img src=x>" + "w" * 300


def chromium() -> str | None:
    named = os.environ.get("CAKE_ONNX_CHROMIUM")
    if named:
        return named
    candidates = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
    return next((found for name in candidates if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    required = os.environ.get("CAKE_ONNX_REQUIRE_BROWSER") == "1"
    executable = chromium()
    if executable is None:
        message = "no Chromium found; install one or name it in CAKE_ONNX_CHROMIUM"
        if required:
            pytest.fail(message)
        pytest.skip(message)
    if not required:
        pytest.importorskip("playwright", reason="playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=["digits", "moons", "table", "hostile"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    from_name: dict[str, str] = {"hostile": "digits"}
    pictures: Pictures = request.getfixturevalue(from_name.get(request.param, request.param))
    make_report: MakeReport = request.getfixturevalue("make_report")
    classes = {"moons": 2, "table": 1000}.get(request.param, 10)
    report = make_report(classes=classes)
    if request.param == "hostile":
        report = make_report(
            output=report.output.model_copy(update={"class_names": (HOSTILE,) * 10, "names": (HOSTILE,)}),
            input=report.input.model_copy(update={"name": HOSTILE, "bounds_source": HOSTILE}),
            teacher=report.teacher.model_copy(update={"file": HOSTILE.replace("/", ":")}),
            assumptions=(HOSTILE,),
            command=HOSTILE,
        )
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_html(report, pictures), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_opens_quietly_and_fits(browser: Browser, address: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address, wait_until="networkidle")

    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert page.get_by_text("The student is a 4.0x smaller file").is_visible()
    inner, outer = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert inner <= outer
    widths = page.evaluate("Array.from(document.images, image => image.complete ? image.naturalWidth : 0)")
    assert widths
    assert min(widths) > 0
    page.close()


def test_dark_and_light_differ(browser: Browser, address: str) -> None:
    shades = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert shades[0] != shades[1]
