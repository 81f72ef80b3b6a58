"""A block of a page fails where it would fail its reader: these try the checks themselves."""

import asyncio

import pytest
from blocks import Notes, Program, docstring_blocks, page_blocks

NO_NOTES = Notes()
PAGE = """
<!-- before: name = "Nora" -->
<!-- after:
await greet(name)
await greet(name)
-->
<!-- needs: structlog -->
```python
async def greet(name):
    print(name)
```

```sh
python -m greet
```

```python
greet
```
"""
MODULE = '''
"""A module.

Call it so::

    call()

    call()

.. code-block:: text

    no code
"""

class _Private:
    """Like so::

        private()
    """

class Public:
    def method(self):
        """Does it.

        Args:
            argument: as in::

                method(
                    argument
                )
        """
'''


def run(code: str, notes: Notes = NO_NOTES) -> None:
    asyncio.run(Program(code, "a-page-1", notes).run({}))


def test_a_block_has_the_notes_above_it_and_no_others() -> None:
    first, second = page_blocks(PAGE)
    assert first[0].startswith("async def greet")
    assert first[1] == Notes('name = "Nora"', "await greet(name)\nawait greet(name)", "structlog")
    assert second == ("greet\n", Notes())


def test_a_docstring_has_the_literal_blocks_of_all_that_is_public() -> None:
    assert list(docstring_blocks(MODULE)) == ["call()\n\ncall()\n", "method(\n    argument\n)\n"]


def test_a_block_runs_with_its_notes(capsys: pytest.CaptureFixture[str]) -> None:
    (code, notes), _ = page_blocks(PAGE)
    run(code, notes)
    assert capsys.readouterr().out == "Nora\nNora\n"


@pytest.mark.parametrize(
    "code",
    [
        "async def main(): ...",
        "def main(): ...",
        "class Some:\n    def method(self): ...",
        "def make():\n    async def inner(): ...\nmake()",
    ],
)
def test_a_block_fails_where_a_function_of_it_is_never_called(code: str) -> None:
    with pytest.raises(AssertionError, match="never called"):
        run(code)


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio\nasyncio.sleep(0)",
        "import asyncio\nlater = asyncio.sleep(0)",
        "async def main(): ...\nmain()",
    ],
)
def test_a_block_fails_where_a_coroutine_of_it_is_not_awaited(code: str) -> None:
    with pytest.raises(AssertionError, match="never awaited"):
        run(code)


def test_a_block_fails_by_what_it_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        run("async def main(): 1 / 0\nawait main()")
