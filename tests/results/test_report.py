"""python -m results.report, in a real headless Chromium where one is installed."""

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from results import report
from tests.results.records import make, write

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()
FINALS = {"gem": 0.75, "single": 0.5, "agem_closed": 0.61}


def records():
    found = [make(m, s, v + s / 100) for m, v in FINALS.items() for s in range(3)]
    return [*found, make("ewc", 0, command='python main.py --model ewc --data_file "</script><b>.pt"', counts={})]


def test_nothing_is_lost(tmp_path, capsys):
    """Neither a record behind -o, as the shell puts it there, nor a page where the new one cannot be made."""
    folder = Path(write(tmp_path / "r", make(seed=0), make(seed=1)))
    before = (folder / "000.json").read_bytes()
    assert report.main(["-o", str(folder / "000.json"), str(folder / "001.json")]) == 2
    assert "000.json: is there and is no page; give a name of its own" in capsys.readouterr().err
    assert (folder / "000.json").read_bytes() == before
    page = tmp_path / "r.html"
    assert report.main([str(folder), "-o", str(page)]) == report.main([str(folder), "-o", str(page)]) == 0
    before = page.read_bytes()
    write(folder, make(seed=2, batch_size=10))
    assert report.main([str(folder), "-o", str(page)]) == 2 and page.read_bytes() == before
    write(tmp_path / "s", make(data_file="caf\udce9.pt"))
    assert report.main([str(tmp_path / "s"), "-o", str(page)]) == 0 and rb"caf\udce9.pt" in page.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
def test_what_is_no_file_is_not_replaced(tmp_path, capsys, kind):
    folder, page = write(tmp_path / "r", make()), tmp_path / "r.html"
    os.mkfifo(page) if kind == "a pipe" else page.mkdir()
    before, said = page.lstat(), {"a pipe": "is there and is no regular file", "a folder": "is a folder, not a file"}
    assert report.main([folder, "-o", str(page)]) == 2
    assert capsys.readouterr().err == (
        f"results.report: --output {page}: cannot be written ({said[kind]}); give another name\n"
    )
    assert page.lstat() == before


def test_cells_that_look_alike_and_entries_that_are_unknown(tmp_path):
    name = "x" * 70
    torn = {"grid": [[0.9, None], [0.5, 0.5]]}
    folder = write(
        tmp_path / "r", make(data_file=name + "1", data_hash="b" * 64), make(data_file=name + "2"), make(**torn)
    )
    assert report.main([folder, "--by", "model,data_file", "-o", str(tmp_path / "r.html")]) in (0, 1)
    text = (tmp_path / "r.html").read_text()
    assert text.count('<table class="grid"') == 3 and f"gem {'x' * 60} #2" in text


def test_columns_of_numbers_are_sorted_as_numbers(tmp_path):
    folder = write(tmp_path / "r", *(make(lr=lr) for lr in (0.1, 0.05, 1e-5)), make("ncl", lr=0.1))
    assert report.main([folder, "--by", "model,lr,memory_strength", "-o", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text()
    heads = text[text.index("<thead>") : text.index("</thead>")]
    assert [part.split('"')[1] for part in heads.split("data-kind=")[1:4]] == ["text", "number", "number"]
    assert '<td data-value="1e-05">1e-05</td>' in text and '<td data-value="">-</td>' in text


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    assert report.main([write(folder / "r", *records()), "-o", str(folder / "r.html"), "--title", "A <b> & c"]) == 0
    return folder / "r.html"


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href")]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_one_file_that_needs_no_network(page):
    text = page.read_text()
    parser = Links()
    parser.feed(text)
    assert parser.found == ["data:,"] and parser.open == []
    assert "@import" not in text and "url(" not in text and "fetch(" not in text
    assert "<title>A &lt;b&gt; &amp; c</title>" in text
    assert "&lt;/script&gt;&lt;b&gt;.pt" in text and text.count("<script") == 2


def test_wrong_commands(tmp_path, capsys):
    folder = write(tmp_path / "r", make(), make(seed=1, batch_size=10))
    assert report.main([folder, "-o", str(tmp_path / "x.html")]) == 2
    assert "differ in batch_size: 1, 10" in capsys.readouterr().err
    assert report.main([folder, "--allow", "batch_size", "-o", str(tmp_path / "no" / "x.html")]) == 2
    assert "x.html: cannot be written" in capsys.readouterr().err
    assert report.main([str(tmp_path / "none")]) == 2


def test_diverged_and_without_curves(tmp_path):
    folder = write(tmp_path / "r", make(evolution=None), make("ewc", status="diverged", grid=[]))
    assert report.main([folder, "-o", str(tmp_path / "x.html")]) == 0
    text = (tmp_path / "x.html").read_text()
    assert "<p>2 runs of 2 methods, 1 diverged</p>" in text and "no complete grid" in text


def test_subtitle_counts_runs_and_rows(tmp_path):
    folder = write(tmp_path / "r", *(make(seed=s, lr=lr) for s in range(3) for lr in (0.1, 0.3)), make("single"))
    written = tmp_path / "x.html"
    assert report.main([folder, "--by", "model,lr", "-o", str(written)]) == 0
    assert "<p>7 runs in 3 rows by model and lr</p>" in written.read_text()
    assert report.main([folder, "--allow", "lr", "-o", str(written)]) == 0
    assert "<p>7 runs of 2 methods</p>" in written.read_text()
    assert report.main([write(tmp_path / "one", make()), "-o", str(written)]) == 0
    assert "<p>1 run of 1 method</p>" in written.read_text()


def test_the_page_says_what_is_not_comparable(tmp_path):
    other = make("single", data_hash="b" * 64, data_file="<i>c</i>.pt")
    folder = write(tmp_path / "r", make(started="1"), make(started="2"), other)
    assert report.main([folder, "-o", str(tmp_path / "x.html")]) == 0
    said = re.findall('<p class="warning">(.*)</p>', (tmp_path / "x.html").read_text())
    assert said == [
        "not comparable: data_file differs: d.pt (gem), &lt;i&gt;c&lt;/i&gt;.pt (single)",
        "left out: 1 run whose seed was begun again with the same settings",
    ]
    assert report.main([write(tmp_path / "s", make(), make("single")), "-o", str(tmp_path / "x.html")]) == 0
    assert "warning" not in (tmp_path / "x.html").read_text().partition("</style>")[2]


def test_negative_numbers_have_a_minus(tmp_path):
    assert report.main([write(tmp_path / "r", make(shift=0.05)), "-o", str(tmp_path / "x.html")]) == 0
    text = (tmp_path / "x.html").read_text()
    assert '<td data-value="-0.1' in text and ">\u22120.1000</td>" in text and "BWT \u22120.1000, FWT" in text
    assert ">-" not in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium: install it (Debian: apt-get install chromium chromium-driver) to test the page")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install -r requirements-dev.txt")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(params=[390, 1280], ids=["phone", "desktop"])
def opened(browser, page, request):
    size = {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": request.param < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def column(browser, i=0):
    return browser.execute_script(f"return [...document.querySelectorAll('.comparison tbody tr')].map("
                                  f"r => r.cells[{i}].textContent)")  # fmt: skip


def test_fits_the_window(opened):
    widths = "return [document.documentElement.scrollWidth, innerWidth]"
    content, window = opened.execute_script(widths)
    assert content <= window
    small = "return [...document.querySelectorAll('#legend button')].filter(b => b.offsetHeight < 36).length"
    assert opened.execute_script(small) == 0


def test_sorting_by_keyboard(opened):
    from selenium.webdriver.common.keys import Keys

    assert column(opened) == ["agem_closed", "ewc", "gem", "single"]
    heads = opened.find_elements("css selector", ".comparison thead th")
    button = heads[2].find_element("tag name", "button")
    assert button.text.strip().startswith("ACC")
    button.send_keys(Keys.ENTER)
    assert heads[2].get_attribute("aria-sort") == "descending"  # more is better: the best first
    assert column(opened)[-2:] == ["agem_closed", "single"] and set(column(opened)[:2]) == {"gem", "ewc"}
    button.send_keys(Keys.SPACE)
    assert heads[2].get_attribute("aria-sort") == "ascending" and column(opened)[:2] == ["single", "agem_closed"]
    violations = heads[5].find_element("tag name", "button")
    for _ in range(2):  # a missing number stays last in both directions
        violations.send_keys(Keys.ENTER)
        assert column(opened)[-1] == "ewc" and column(opened, 5)[-1] == "X"
    assert heads[2].get_attribute("aria-sort") is None
    heads[0].find_element("tag name", "button").send_keys(Keys.ENTER)
    assert column(opened) == ["agem_closed", "ewc", "gem", "single"]


def test_legend(opened):
    buttons = opened.find_elements("css selector", "#legend button")
    assert [b.text for b in buttons] == ["agem_closed", "ewc", "gem", "single"]
    lines = opened.find_elements("css selector", "[data-curve='2']")
    assert len(lines) == 2 and all(line.is_displayed() for line in lines)
    buttons[2].click()
    assert buttons[2].get_attribute("aria-pressed") == "false" and not any(line.is_displayed() for line in lines)
    assert opened.find_element("css selector", "[data-curve='1']").is_displayed()
    buttons[2].click()
    assert buttons[2].get_attribute("aria-pressed") == "true" and all(line.is_displayed() for line in lines)


def test_grid_cells_by_keyboard_and_pointer(opened):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    cell = opened.find_element("css selector", ".grid td")
    cell.send_keys(Keys.ARROW_DOWN)
    status = opened.find_element("id", "cell")
    assert status.text == "agem_closed: after task 2, on task 1: 0.6200"
    opened.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert status.text == "agem_closed: after task 2, on task 2: 0.6200"
    ActionChains(opened).move_to_element(cell).perform()
    assert status.text == "agem_closed: after task 1, on task 1: 0.9000"


def test_names_for_screen_readers(opened):
    unnamed = """return [...document.querySelectorAll('button, [role=region], [role=group], [role=img], table.grid')]
        .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label'))).length"""
    assert opened.execute_script(unnamed) == 0
    assert opened.execute_script("return document.documentElement.lang") == "en"
    assert opened.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName[1]).join('')"
                                 ).startswith("12222333")  # fmt: skip


def test_copying(opened):
    button = opened.find_element("css selector", ".command button")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    opened.execute_async_script("setTimeout(arguments[0], 100)")
    assert opened.find_element("id", "copied").get_attribute("textContent").startswith("Command ")
