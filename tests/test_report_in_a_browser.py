"""The report in a real browser: a quiet console, nothing wider than the screen, legible in light, dark and print."""

import base64
import shutil

import pytest

from pilots import crowd, member, pilot
from test_report_page import page_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER),
    reason="Chromium and chromedriver are not installed here, so no browser looks at it",
)

# The contrast (WCAG 2.2, 1.4.3) of the least legible text, HTML and SVG alike, and what it says.
LEAST_CONTRAST = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const luminance = text => {
  const [r, g, b] = rgb(text).map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (rgb(colour)[3] !== 0) return colour;
  }
  return 'rgb(255, 255, 255)';
};
let least = [99, ''];
for (const element of document.querySelectorAll('body *')) {
  const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
  if (!text || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const inSvg = element instanceof SVGElement;
  if (inSvg && element.tagName !== 'text') continue;
  const [a, b] = [luminance(inSvg ? style.fill : style.color), luminance(behind(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < least[0]) least = [contrast, text];
}
return least;
"""
# Whatever sticks out of the screen, but for what scrolls in a box of its own.
STICKS_OUT = """
const wide = document.documentElement.clientWidth;
return [...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.scroll table') && e.getClientRects().length && e.getBoundingClientRect().right > wide + 1)
  .map(e => e.tagName + ' ' + (e.textContent || '').trim().slice(0, 40));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A pilot that is well, and one that is not and has a wave's name as long as may be."""
    folder = tmp_path_factory.mktemp("pages")
    unwell = pilot([member(arm, y=y) for arm in ("treatment", "control") for y in (0, 1, 4)], treatment_size=900)
    for name, facts in {"well": pilot(crowd()), "unwell": unwell}.items():
        (folder / f"{name}.html").write_text(page_of(facts).replace(">w1<", f">{'w1-' * 10}w1<"))
    return folder


def show(browser, path, width, scheme, media="screen"):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.get(path.as_uri())


@pytest.mark.parametrize("name", ["well", "unwell"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_it_fits_the_screen_and_can_be_read(browser, pages, name, scheme, width):
    show(browser, pages / f"{name}.html", width, scheme)
    assert browser.execute_script(STICKS_OUT) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    contrast, text = browser.execute_script(LEAST_CONTRAST)
    assert contrast >= 4.5, text
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert browser.get_log("browser") == []


def test_charts_are_not_shrunk_below_what_can_be_read_on_a_phone(browser, pages):
    show(browser, pages / "well.html", 390, "light")
    scales = browser.execute_script(
        "return [...document.querySelectorAll('svg[role=img]')]"
        ".map(e => e.getBoundingClientRect().width / e.viewBox.baseVal.width)"
    )
    # Text of 11 pixels.
    assert min(scales) * 11 >= 9


def test_it_prints_on_white_in_full_however_the_screen_is(browser, pages):
    show(browser, pages / "well.html", 1000, "dark", "print")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    contrast, text = browser.execute_script(LEAST_CONTRAST)
    assert contrast >= 4.5, text
    printed = base64.b64decode(
        browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})["data"]
    )
    assert printed.startswith(b"%PDF")
    assert browser.get_log("browser") == []


def test_it_can_be_read_from_the_keyboard(browser, pages):
    show(browser, pages / "well.html", 390, "light")
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')]"
        ".filter(e => e.scrollWidth > e.clientWidth && e.tabIndex < 0).length"
    )
    assert hidden == 0
