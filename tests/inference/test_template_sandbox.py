"""Chat templates come with the weights: they say how to write a prompt, and can do nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from inference.errors import InvalidRequest
from inference.text.vocabulary import Vocabulary
from inference.types import ChatRequest

HELLO = [{"role": "user", "content": "hello"}]
# Ways from a template to Python, and from there to the machine.
ESCAPES = (
    "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch TARGET') }}",
    "{{ joiner.__init__.__globals__['os'].popen('touch TARGET').read() }}",
    "{{ lipsum.__globals__.os.system('touch TARGET') }}",
    "{{ self._TemplateReference__context.environment.loader }}",
    "{{ raise_exception.__globals__.__builtins__.open('TARGET', 'w').write('x') }}",
    "{{ strftime_now.__globals__.__builtins__.exec('1') }}",
    "{{ tojson.__globals__ }}",
    "{{ messages.append.__self__.__init__.__globals__ }}",
    "{{ '%s' | format(messages) | attr('__class__') | attr('__mro__') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{{ messages.append('x') }}",
    "{{ range(1000000000) | list | length }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.system('touch TARGET') }}",
)


@pytest.mark.parametrize("template", ESCAPES)
def test_no_template_reaches_the_machine(
    template: str,
    tiny_text: Callable[[str], Path],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    vocabulary = Vocabulary(tiny_text("qwen3"))
    target = tmp_path / "touched"
    vocabulary.template = template.replace("TARGET", str(target))
    try:
        written = vocabulary.render(ChatRequest(messages=HELLO), HELLO)
    except (InvalidRequest, OverflowError):
        written = ""
    assert not target.exists()
    for word in ("subclass", "<function", "<class", "<module", "root:", "builtins"):
        assert word not in written, written
    record_property("reached", "a template that reaches for the machine: reached nothing")


def test_they_still_write_prompts(tiny_text: Callable[[str], Path]) -> None:
    """The vocabulary above is one that works."""
    assert "hello" in Vocabulary(tiny_text("qwen3")).render(ChatRequest(messages=HELLO), HELLO)
