"""Displays are registered with IPython: in a running shell when mlpconv is imported, and by %load_ext."""

import subprocess
import sys

import pytest

from mlpconv.arch.cost import count, training_memory
from mlpconv.models import create_model
from mlpconv.notebook import Html, load_ipython_extension, to_html
from mlpconv.notebook.displays import DISPLAYED

pytest.importorskip("IPython")


def in_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


SHELL = "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance(); "
FORMAT = "print('text/html' in shell.display_formatter.format({})[0]); "


def test_importing_mlpconv_in_a_shell_registers_the_displays():
    network = FORMAT.format("mlpconv.create_model('nin')")
    assert in_new_process(SHELL + "import mlpconv; " + network) == ["True"]
    assert in_new_process("import mlpconv; " + SHELL + network) == ["False"]
    extension = "shell.run_line_magic('load_ext', 'mlpconv.notebook'); "
    assert in_new_process("import mlpconv; " + SHELL + extension + network) == ["True"]


def test_importing_mlpconv_in_a_shell_imports_nothing_heavy():
    heavy = "print(*sorted({'torch', 'jinja2', 'msgspec', 'mlpconv.runs.run'} & set(sys.modules)))"
    assert in_new_process(f"import sys; {SHELL} import mlpconv; {heavy}") == []


def test_without_ipython_nothing_is_registered():
    assert in_new_process(
        "import sys, mlpconv; print('IPython' in sys.modules, 'mlpconv.notebook' in sys.modules)"
    ) == [
        "False",
        "False",
    ]
    # Imported as a library, without a shell.
    assert in_new_process("import IPython, mlpconv; print(IPython.get_ipython())") == ["None"]


def test_every_registered_class_exists():
    import importlib

    for module, name in DISPLAYED:
        assert isinstance(getattr(importlib.import_module(module), name), type)


def test_objects_show_the_html_of_to_html():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    load_ipython_extension(shell)
    network = create_model("nin")
    for value in (network, count(network), training_memory(network)):
        data, _ = shell.display_formatter.format(value)
        assert data["text/html"] == to_html(value)
        assert data["text/plain"] == repr(value)
    assert shell.display_formatter.format(Html("<b>x</b>"))[0]["text/html"] == "<b>x</b>"
    with pytest.raises(TypeError, match="no display for int"):
        to_html(1)
