"""One browser for all tests of a process; without a Chromium they are skipped, with the reason."""

import pytest

from tests.browser.pages import NO_CHROMIUM, find_chromium, launch


@pytest.fixture(scope="session")
def browser():
    executable = find_chromium()
    if executable is None:
        pytest.skip(NO_CHROMIUM)
    with launch(executable) as found:
        yield found
