"""`report --html`: the page, for whom it is and how a browser shows it."""

from __future__ import annotations

import base64
import hashlib
import html
import html.parser
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, Site
from incidents import HOSTILE, JOE, PLAIN, lifted, send_mails, sql
from mmdb import write_database

from pcc.report.world import world

pytestmark = pytest.mark.subprocess

# The page.

ELEMENTS = frozenset(
    "html head meta title style body header section article footer h1 h2 h3 p a span b abbr time dl"
    " dt dd div figure figcaption svg g rect path ul ol li pre details summary table caption thead"
    " tbody tr th td".split()
)
VOID = {"meta"}


class Page(html.parser.HTMLParser):
    """The elements, attributes and texts of a page, which must be well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))


IMPORTED = """
import runpy, sys
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print("jinja2" in sys.modules, file=sys.stderr)
"""


def test_jinja2_is_imported_for_a_page_alone(site: Site) -> None:
    commands = [["report"], ["list"], ["--json", "report"], ["notify"], ["stats"], ["cleanup"]]
    page = ["report", "--html", str(site.folder / "page.html")]
    for command in [*commands, page]:
        script = ["-c", IMPORTED, str(ROOT / "pcc_admin.py"), "-c", str(site.config), *command]
        done = subprocess.run([sys.executable, *script], capture_output=True, text=True)
        assert done.stderr == f"{command is page}\n", command


def write_page(site: Site, *options: str) -> str:
    path = site.folder / "page.html"
    done = site.admin("report", "--html", str(path), *options)
    assert (done.returncode, done.stderr) == (0, "")
    return path.read_text(encoding="utf-8")


def test_page_has_no_markup_from_outside(hostile: Site) -> None:
    text = write_page(hostile)
    page = Page(text)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    for tag, attributes in page.elements:
        for name in attributes:
            assert not (name.startswith("on") or name in ("style", "src")), tag
        link = attributes.get("href") or "#"
        assert link.startswith("#") or link == "https://db-ip.com"
    assert all(text.replace("\n", "").isprintable() for tag, text in page.texts if tag != "style")
    assert "url(" not in text and "@import" not in text and "<script" not in text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = [str(a["href"])[1:] for tag, a in page.elements if tag == "a" and "rel" not in a]
    assert len(set(ids)) == len(ids) == len(HOSTILE)
    assert set(links) == set(ids)


def test_page_allows_nothing_but_its_own_style(hostile: Site) -> None:
    text = write_page(hostile)
    policy = next(
        str(attributes["content"])
        for tag, attributes in Page(text).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert text.startswith("<!DOCTYPE html>")
    assert "{{" not in text and "{%" not in text
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_page_names_its_tables_columns_and_pictures(hostile: Site) -> None:
    page = Page(write_page(hostile))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("table") == tags.count("caption") > 3
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    assert tags.count("h1") == 1
    assert tags.count("path") == len(world().shapes)


def test_page_is_for_its_owner_and_group_and_appears_whole(site: Site) -> None:
    folder = site.folder / "web"
    folder.mkdir()
    path = folder / "page.html"
    os.umask(0o022)
    assert site.admin("report", "--html", str(path)).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    before = path.stat().st_ino
    path.chmod(0o604)  # the operator wants it so
    assert site.admin("report", "--html", str(path)).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert path.stat().st_ino != before
    assert os.listdir(folder) == ["page.html"]


def test_page_that_can_not_be_written_leaves_nothing(site: Site) -> None:
    folder = site.folder / "web"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    for path, cause in (
        (folder / "none" / "page.html", "No such file or directory"),
        (folder, "is not a plain file"),
        (folder / "link", "is not a plain file"),
    ):
        done = site.admin("report", "--html", str(path))
        assert (done.returncode, done.stdout) == (4, "")
        assert cause in done.stderr
    assert os.listdir(folder) == ["link"]


def test_page_is_also_written_with_json(site: Site) -> None:
    path = site.folder / "page.html"
    assert site.data("report", "--html", str(path))["accounts"] == 0
    assert path.exists()


def test_page_stays_small_with_very_many_incidents(site: Site) -> None:
    send_mails(site, JOE, "ES FR BR")
    for table, names in (
        ("sighting", "address, country, looked_up, client_name, first_seen, last_seen, mails,"
         " generation, days, runs, instance, hour"),
        ("place", "kind, name, first_seen, last_seen, mails, generation, days, runs"),
        ("incident", "id, mode, rule, window_seconds, countries, country, client_address,"
         " client_name, queue_id, action, began, expires, ended, held, tries, last_try, instance"),
    ):  # fmt: skip
        sql(
            site,
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)"
            f" INSERT INTO {table} (account, {names})"
            f" SELECT 'user-' || n || '@example.org', {names} FROM n, {table}",
        )
    text = write_page(site)
    assert len(text) < 1_000_000
    assert "on the watch list: 200 of 5,001" in text
    assert "These are the latest 300 of 5,001." in text
    assert site.data("report")["blocked"] == 5_001


def test_page_names_the_makers_of_the_country_database(site: Site) -> None:
    assert "db-ip.com" not in write_page(site)  # a test database, of another type
    records = {"11.1.0.0/16": {"autonomous_system_number": 3352}}
    write_database(site.folder / "asn.mmdb", records, "ip-location-db-ASN")
    with_networks = site.config.read_text().replace('networks = ""', 'networks = "asn.mmdb"')
    site.config.write_text(with_networks)
    text = write_page(site)
    assert "routeviews.org" in text and "nro.net" in text and "https://db-ip.com" in text
    site.configure(PLAIN)
    site.countries.unlink()
    assert '<a href="https://db-ip.com" rel="noreferrer">IP Geolocation by DB-IP</a>' in (
        write_page(site)
    )


def city(code: str, name: str, latitude: float, longitude: float) -> dict[str, Any]:
    return {
        "country": {"iso_code": code},
        "city": {"names": {"en": name}},
        "location": {"latitude": latitude, "longitude": longitude},
    }


def test_page_shows_where_addresses_are_and_whose(tmp_path: Path) -> None:
    databases = '[country]\ndatabase = "city.mmdb"\nasn = "asn.mmdb"\n'
    site = Site(tmp_path, f'[policy]\n{PLAIN}{databases}[store]\ndatabase = "pcc.db"\n')
    cities = {
        "11.1.0.0/16": city("ES", "Madrid", 40.4, -3.7),
        "11.2.0.0/16": city("FR", "Par\x1b[31mis <b>", 48.9, 2.3),
        "11.3.0.0/16": city("BR", "Sao Paulo", -23.5, -46.6),
    }
    write_database(tmp_path / "city.mmdb", cities, "GeoLite2-City")
    operator = {"autonomous_system_number": 3352, "autonomous_system_organization": "<Telefonica>"}
    write_database(tmp_path / "asn.mmdb", {"11.1.0.0/16": operator}, "GeoLite2-ASN")
    send_mails(site, JOE, "ES FR BR")
    lifted(site)
    (alarm,) = site.data("report")["lifted_soon"]
    legs = [(leg["from"]["country"], leg["to"]["country"]) for leg in alarm["travel"]]
    assert legs == [("ES", "FR"), ("FR", "BR")]
    assert "(FR) to Sao Paulo (BR), 9,400 km in" in site.admin("report").stdout
    page = Page(write_page(site))
    told = [text for _, text in page.texts]
    assert "Madrid" in told and "\\x3cTelefonica\\x3e (AS3352)" in told
    assert sum("to Sao Paulo (BR), 9,400 km in" in text for text in told) == 2
    assert all(text.replace("\n", "").isprintable() for text in told)
    site.close()


# A real browser.

BROWSER = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), ""
)

HARNESS = """
<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">
<iframe src="page.html" style="border: 0; width: WIDTHpx; height: 2000px"></iframe>
<script>
function color(text) { return text.match(/[\\d.]+/g).map(Number); }
function luminance(rgb) {
    const linear = c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map(c => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function background(element) {
    for (let e = element; e; e = e.parentElement) {
        const found = color(getComputedStyle(e).backgroundColor);
        if (found.length == 3 || found[3] > 0) return found.slice(0, 3);
    }
    return [255, 255, 255];
}
function contrast(element) {
    const text = luminance(color(getComputedStyle(element).color).slice(0, 3));
    const behind = luminance(background(element));
    return (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
}
const frame = document.querySelector("iframe");
frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement;
    const texts = [...page.body.querySelectorAll("*:not(svg, svg *)")].filter(
        e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()));
    texts.sort((a, b) => contrast(a) - contrast(b));
    const anchor = page.querySelector("details div[id]");
    frame.contentWindow.location.hash = anchor.id;
    setTimeout(() => {
        const result = {
            overflow: root.scrollWidth - root.clientWidth,
            width: getComputedStyle(page.body).maxWidth,
            page: getComputedStyle(page.body).backgroundColor,
            contrast: contrast(texts[0]),
            least: texts[0].outerHTML,
            small: Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),
            shapes: page.querySelectorAll("path").length,
            map: page.querySelector(".map").getBoundingClientRect().width,
            scripts: page.scripts.length + page.images.length,
            opened: anchor.parentElement.open,
        };
        document.title = JSON.stringify(result);
    }, 100);
};
</script>
"""


@pytest.mark.skipif(not BROWSER, reason="there is no chromium")
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_browser_shows_the_page_well(hostile: Site, width: int, is_dark: bool) -> None:
    write_page(hostile)
    harness = hostile.folder / "harness.html"
    harness.write_text(HARNESS.replace("WIDTH", str(width)), encoding="utf-8")
    seen = browse(hostile.folder, harness, is_dark=is_dark)
    assert seen["overflow"] == 0
    assert seen["width"] == "1152px"  # so the policy has let the style sheet in
    assert seen["page"] == ("rgb(18, 22, 27)" if is_dark else "rgb(255, 255, 255)")
    assert seen["contrast"] >= 4.5, seen["least"]
    assert seen["small"] >= 12
    assert seen["shapes"] == len(world().shapes)
    assert width * 0.8 < seen["map"] <= width
    assert seen["scripts"] == 0
    assert seen["opened"]


def browse(folder: Path, page: Path, *, is_dark: bool) -> Any:
    """Return what the harness found in a real browser."""
    argv = [
        BROWSER,
        "--headless",
        "--no-sandbox",  # it does not start as root otherwise
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={folder}/browser",
        f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
        "--window-size=1400,2000",
        "--virtual-time-budget=5000",
        "--dump-dom",
        page.as_uri(),
    ]
    for _ in range(3):  # on a busy machine it may end before the page is there
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        if title := re.search(r"<title>(.*?)</title>", done.stdout):
            return json.loads(html.unescape(title[1]))
    raise AssertionError(done.stderr)
