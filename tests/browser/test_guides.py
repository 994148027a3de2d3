"""What the documents show for a page works as it stands: on a page of its own, in Chromium, against a sandbox as `make run` starts it."""

import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
from lastdigits_client import Client
from playwright.sync_api import Page

from tests.browser.visit import Open, Visit
from tests.consumers.loopback import listening
from tests.consumers.page import GUIDES, Sandbox, as_served, marked
from tests.harness import ROOT
from tests.npm import install, run_node

pytestmark = pytest.mark.browser

FRAMEWORKS = Path(__file__).parent / "frameworks"
PAGE = marked(GUIDES / "en" / "page.md")
WIDGET = marked(ROOT / "docs" / "widget.md")
SCRIPT = next(line for line in PAGE["page-html"].splitlines() if line.startswith("<script"))

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Page</title><link rel="icon" href="data:,">{head}</head><body>{body}</body></html>"""

MAIN = {
    "react": """
import { createRoot } from 'react-dom/client'
import { VerifyPhone } from './VerifyPhone.jsx'
const onToken = (token) => { document.body.dataset.token = token }
createRoot(document.getElementById('app')).render(<VerifyPhone onToken={onToken} />)
""",
    "vue": """
import { createApp, h } from 'vue'
import VerifyPhone from './VerifyPhone.vue'
const onToken = (token) => { document.body.dataset.token = token }
createApp({ render: () => h(VerifyPhone, { onToken }) }).mount('#app')
""",
}
REACT_CONFIG = "import react from '@vitejs/plugin-react'\n\nexport default { plugins: [react()] }\n"


class _Site(SimpleHTTPRequestHandler):
    """The files of a folder; it takes forms."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Serves the test's folder on another port than the service's, as a person's own page is."""
    with listening(partial(_Site, directory=str(tmp_path))) as url:
        yield url.replace("127.0.0.1", "localhost")


def own(code: str, sandbox: Sandbox) -> str:
    """The code with this sandbox's address and key."""
    return as_served(code.replace("https://verify.example.com", sandbox.url), sandbox)


def verified(visit: Visit, sandbox: Sandbox) -> str:
    """A person verifies a phone on the page; returns it."""
    phone = visit.start()
    visit.approve(sandbox.code(phone))
    return phone


def redeemed(token: str, sandbox: Sandbox) -> tuple[str, str | None]:
    with Client(sandbox.url, sandbox.secret_key) as client:
        answer = client.redeem(token)
    return answer.phone, answer.purpose


@pytest.mark.parametrize(
    "html",
    [PAGE["page-html"], *(marked(ROOT / page)["readme-page"] for page in ("README.md", "README.ru.md"))],
    ids=["guide", "README.md", "README.ru.md"],
)
def test_a_form_sends_the_token(html: str, visit: Open, sandbox: Sandbox, site: str, tmp_path: Path) -> None:
    if "<form" not in html:
        html = f'<form action="/login" method="post">{html}<button>Continue</button></form>'
    (tmp_path / "index.html").write_text(HTML.format(head="", body=own(html, sandbox)), "utf-8")
    someone = visit(site)
    phone = verified(someone, sandbox)
    with someone.page.expect_request("**/login") as sent:
        someone.page.get_by_role("button", name="Continue").click()
    assert sent.value.method == "POST"
    [token] = parse_qs(sent.value.post_data or "")["phone_token"]
    assert redeemed(token, sandbox) == (phone, "login")


def test_by_the_readme_alone_a_newcomer_verifies_a_phone(
    visit: Open, sandbox: Sandbox, site: str, tmp_path: Path
) -> None:
    """Its two lines are the whole page, and the simulator's page shows which number called."""
    (tmp_path / "index.html").write_text(own(marked(ROOT / "README.md")["readme-page"], sandbox), "utf-8")
    someone = visit(site)
    someone.start()
    simulator = someone.page.context.new_page()
    simulator.goto(sandbox.simulator)
    called = simulator.locator("tbody tr").first.locator("td").last.inner_text()
    someone.approve(called[-4:])


@pytest.mark.parametrize(
    ("framework", "files"),
    [
        ("react", {"VerifyPhone.jsx": PAGE["page-react"], "vite.config.js": REACT_CONFIG}),
        ("vue", {"VerifyPhone.vue": PAGE["page-vue"], "vite.config.js": PAGE["page-vite"]}),
    ],
    ids=["react", "vue"],
)
def test_a_component_gets_the_token(
    framework: str, files: dict[str, str], visit: Open, sandbox: Sandbox, site: str, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(install(FRAMEWORKS), target_is_directory=True)
    start = '<div id="app"></div><script type="module" src="/main.jsx"></script>'
    files = files | {"main.jsx": MAIN[framework], "index.html": HTML.format(head=SCRIPT, body=start)}
    for name, code in files.items():
        (tmp_path / name).write_text(own(code, sandbox), "utf-8")
    vite = str(FRAMEWORKS / "node_modules/vite/bin/vite.js")
    built = run_node(
        vite, "build", str(tmp_path), NODE_ENV="development"
    )  # then Vue warns of a tag that it does not know
    assert built.returncode == 0, built.stderr
    shutil.copytree(tmp_path / "dist" / "assets", tmp_path / "assets")
    someone = visit(f"{site}/dist/index.html")
    phone = verified(someone, sandbox)
    token = someone.page.locator("body[data-token]").get_attribute("data-token") or ""
    assert redeemed(token, sandbox) == (phone, "login")


def test_a_page_without_a_form_listens(visit: Open, sandbox: Sandbox, site: str, tmp_path: Path) -> None:
    listening = f"<script>const login = (token) => {{ document.title = token }}\n{WIDGET['widget-listen']}</script>"
    (tmp_path / "index.html").write_text(own(HTML.format(head="", body=WIDGET["widget-page"] + listening), sandbox))
    someone = visit(site)
    phone = verified(someone, sandbox)
    assert redeemed(someone.page.title(), sandbox) == (phone, "login")


def test_a_page_without_the_widget(page: Page, sandbox: Sandbox, site: str, tmp_path: Path) -> None:
    """The code is the page's, so the simulator calls from a number that ends in it."""
    digits = httpx.put(f"{sandbox.simulator}/behaviour/79991234567", json={"digits": "1234", "times": 1})
    assert digits.is_success
    drawing = "const render = (state) => { document.title = state.step }\n"
    module = f'<script type="module">{drawing}{WIDGET["widget-without"]}</script>'
    (tmp_path / "index.html").write_text(own(HTML.format(head="", body=module), sandbox), "utf-8")
    page.goto(site)
    page.wait_for_function("document.title === 'approved'")
