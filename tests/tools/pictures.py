"""Makes docs/pictures/ of commands on a terminal, and of a report: `make pictures`.

The commands run on the site of scene.py, the report is that of month.py.  The pictures of commands
are text on a dark ground, in the reader's own monospaced font.  So they are small, can be searched,
and look the same by day and by night.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory

from checkout import ROOT
from month import Month
from scene import Scene
from terminal import on_terminal

COMMANDS = {
    "list": ("pcc_admin.py list", 190),
    "show": ("pcc_admin.py show joe@example.org", 120),
    "held": ("pcc_admin.py held joe@example.org", 120),
    "doctor": ("pcc_admin.py doctor", 200),  # the names of the site are longer than those shown
}
"""The command in each picture, and the columns of its terminal."""

WINDOW = "1000,1580"
"""The report as far as the map."""

CELL = (8.4, 18)  # pixels
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341"}


def main() -> int:
    """Make all pictures."""
    folder = ROOT / "docs" / "pictures"
    with Scene() as scene:
        scene.reset()
        config = scene.pcc.config.read_text()
        scene.pcc.write_config(config.replace("to = []", 'to = ["postmaster"]'))
        scene.run("pcc_admin.py init")
        for file in ("main.cf", "master.cf"):  # a test's Postfix trusts more than one should
            path = scene.mta.config / file
            path.write_text(path.read_text().replace("static:all", "127.0.0.0/8"))
        scene.mta.reload()
        for name, (command, columns) in COMMANDS.items():
            shown = on_terminal(_argv(scene, command), columns, _environment(scene))
            (folder / f"{name}.svg").write_text(picture(command, _tidied(scene, shown)))
    with TemporaryDirectory() as temporary:
        _photograph(Path(temporary), folder / "report.png")
    return 0


def _photograph(folder: Path, file: Path) -> None:
    """Take a picture of the report's page, where there is a browser without a window."""
    browser = shutil.which("chromium-headless-shell")
    if not browser:
        return
    page = folder / "report.html"
    Month(folder).run("report", "--html", str(page))
    page.write_text(page.read_text().replace(gethostname(), "mx.example.org"))
    options = ["--no-sandbox", "--hide-scrollbars", f"--window-size={WINDOW}"]
    subprocess.run(
        [browser, *options, f"--screenshot={file}", page.as_uri()], check=True, capture_output=True
    )


def _argv(scene: Scene, command: str) -> list[str]:
    return [str(scene.commands / shlex.split(command)[0]), *shlex.split(command)[1:]]


def _environment(scene: Scene) -> dict[str, str]:
    return {
        "MAIL_CONFIG": str(scene.mta.config),
        "PATH": f"{scene.mta.commands}:/usr/sbin:/usr/bin",
    }


def _tidied(scene: Scene, shown: str) -> str:
    """Return output with the names of an ordinary installation in place of the site's."""
    for old, new in (
        (re.escape(" ".join(scene.pcc.admin_argv())), "pcc_admin.py"),
        (rf"{re.escape(' '.join(scene.pcc.admin_argv()[:2]))} -c \S+", "pcc_admin.py"),
        (rf" --mail-config {re.escape(str(scene.mta.config))}", ""),
        (r"log to \S+ by postlog", "log to /dev/log"),
        (rf"127\.0\.0\.1:{scene.mta.submission}\b", "submission"),
        (rf"127\.0\.0\.1:{scene.mta.submissions}\b", "submissions"),
    ):
        shown = re.sub(old, new, shown)
    return shown.strip("\n")


def picture(command: str, shown: str) -> str:
    """Return the SVG of a command and its output, colours by their escape sequences."""
    lines = [f"\x1b[1m$ {command}\x1b[0m", *shown.splitlines()]
    columns = max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in lines)
    width, height = round(columns * CELL[0] + 32), len(lines) * CELL[1] + 28
    texts = [
        f'<text x="16" y="{28 + number * CELL[1]}">{_spans(line)}</text>'
        for number, line in enumerate(lines)
        if line.strip()
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" aria-label="{escape(command)}">\n'
        '<rect width="100%" height="100%" rx="8" fill="#161b22"/>\n'
        '<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace"'
        ' font-size="14" fill="#e6edf3">\n' + "\n".join(texts) + "\n</g></svg>\n"
    )


def _spans(line: str) -> str:
    """Return a line with tspans for what is bold, dim or coloured."""
    spans, style = [], ""
    for piece in re.split(r"(\x1b\[[\d;]*m)", line):
        if piece.startswith("\x1b"):
            style = _style(piece[2:-1].split(";"))
        elif piece:
            text = escape(piece).replace(" ", "\N{NO-BREAK SPACE}")
            spans.append(f"<tspan{style}>{text}</tspan>" if style else text)
    return "".join(spans)


def _style(codes: list[str]) -> str:
    """Return attributes for the codes of one escape sequence."""
    style = ' font-weight="bold"' if "1" in codes else ""
    style += ' fill-opacity="0.6"' if "2" in codes else ""
    return style + "".join(f' fill="{COLOURS[code]}"' for code in codes if code in COLOURS)


if __name__ == "__main__":
    sys.exit(main())
