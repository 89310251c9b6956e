"""All families, and which of them a config.json means.

A new family has a file of its own beside this one and a line in `FAMILIES`. Where a model could be exported as several
families, the first is taken.
"""

from pydantic import ValidationError

from openbook.errors import OpenbookError
from openbook.interop.huggingface.families import (
    bart,
    gemma,
    gemma2,
    gemma3,
    gpt2,
    gpt_oss,
    grok,
    llama,
    m2m_100,
    marian,
    mistral,
    mixtral,
    qwen2,
    qwen3,
    qwen3_moe,
    t5,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.text.field_errors import field_errors
from openbook.text.printable import excerpt
from openbook.transformer import architecture as architectures
from openbook.transformer.architecture import Architecture

FAMILIES = (
    gpt2.FAMILY,
    llama.FAMILY,
    mistral.FAMILY,
    mixtral.FAMILY,
    gemma.FAMILY,
    gemma2.FAMILY,
    gemma3.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    qwen3_moe.FAMILY,
    grok.FAMILY,
    gpt_oss.FAMILY,
    t5.FAMILY,
    t5.MULTILINGUAL,
    bart.FAMILY,
    bart.MULTILINGUAL,
    marian.FAMILY,
    m2m_100.FAMILY,
)


ADD = "; to add a family, see docs/families.md"


def family_of(config: ConfigFields) -> Family:
    """The family that `model_type` names.

    Raises:
        OpenbookError: it is missing or unknown; names the families there are.
    """
    families = {kind: family for family in FAMILIES for kind in family.model_types}
    kind = config.optional_string("model_type")
    family = families.get(kind or "")
    if family is None:
        known = ", ".join(family.name for family in FAMILIES)
        found = "is missing" if kind is None else f"{excerpt(kind)} is not known"
        raise config.error("model_type", f"{found}; import a model of one of these families: {known}{ADD}")
    return family


def read_architecture(family: Family, config: ConfigFields) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
        OpenbookError: a field is missing, of the wrong type, out of range, or not understood.
    """
    try:
        architecture = family.read(config.with_defaults(family.absent))
    except ValidationError as error:
        first = field_errors(error, vars(architectures).get(error.title, Architecture))[0]
        raise OpenbookError(f"{config.where}: {f'{first.path}: ' if first.place else ''}{first.problem}") from None
    config.finish()
    return architecture
