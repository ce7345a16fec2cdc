"""Take docs/review.png, the review page of one task as a browser shows it: `make screenshot`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1280,720", "--hide-scrollbars",
)  # fmt: skip
_COLOURS = 96


def take(page: Path, keys: str) -> Image.Image:
    """Return the page after some keys were pressed."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            browser.get(page.resolve().as_uri())
            for key in keys:
                ActionChains(browser).send_keys(key).perform()
            is_drawn = "return document.getElementById('sheet').complete"
            WebDriverWait(browser, 20).until(lambda _: browser.execute_script(is_drawn))
            return Image.open(BytesIO(browser.get_screenshot_as_png()))
        finally:
            browser.quit()


if __name__ == "__main__":
    picture = take(Path(sys.argv[1]), sys.argv[3])
    picture.convert("RGB").quantize(_COLOURS).save(sys.argv[2], optimize=True)
