"""One browser and one built site for all tests of a process; skipped, with the reason, without a Chromium."""

import pytest

from tests.browser.pages import NO_CHROMIUM, build_site, find_chromium, launch


@pytest.fixture(scope="session")
def browser():
    executable = find_chromium()
    if executable is None:
        pytest.skip(NO_CHROMIUM)
    with launch(executable) as found:
        yield found


@pytest.fixture(scope="session")
def site(browser, tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    build_site(out)
    return out
