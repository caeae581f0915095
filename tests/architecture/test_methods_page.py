"""docs/methods.md says of every method and every kind of adapter what tests have shown, and of nothing else."""

from pathlib import Path

from tests.method_rows import PAGE, MethodRow, keep, offered, read_rows, rows_of_page, table


def test_the_page_has_a_row_for_everything_that_is_offered_and_no_other() -> None:
    assert rows_of_page(PAGE.read_text()) == offered()


def test_what_two_tests_say_of_a_row_becomes_one(tmp_path: Path) -> None:
    keep(tmp_path, "dpo", "lora", trains="4 steps")
    keep(tmp_path, "dpo", "lora", served="as it is")
    keep(None, "dpo", "lora", trains="never kept")
    assert read_rows(tmp_path) == [MethodRow("dpo", "lora", trains="4 steps", served="as it is")]
    assert "| dpo | lora | 4 steps | - | - | as it is | - |" in table(read_rows(tmp_path))
