"""`python -m trainer check`: how do these files tokenise, and how large is the base model? No torch, no weights."""

from trainer.base_model import count_parameters
from trainer.contract.report import CheckReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckSpec
from trainer.dataset import tokenize_training_file, tokenize_validation_file
from trainer.tokenizer import load_chat_tokenizer


def check(run_directory: RunDirectory, spec: CheckSpec) -> CheckReport:
    """Answer for one run directory.

    Raises:
        ExampleInvalid, TrainerError: a file or the base model cannot be used.
    """
    limit = spec.context_length_tokens
    tokenizer = load_chat_tokenizer(spec.base_model)
    n_parameters = count_parameters(spec.base_model)
    training = tokenize_training_file(run_directory.training_file, tokenizer, context_length_tokens=limit).report()
    validation = None
    if run_directory.validation_file.exists():
        file = tokenize_validation_file(run_directory.validation_file, tokenizer, context_length_tokens=limit)
        validation = file.report()
    return CheckReport(training=training, validation=validation, base_parameters=n_parameters)
