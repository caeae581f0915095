"""`python -m tests.methods_page DIR`: write the table of docs/methods.md from the rows that tests have kept in DIR."""

import sys
from pathlib import Path

from tests.method_rows import BEGIN, END, PAGE, offered, read_rows, table


def main(arguments: list[str]) -> None:
    rows = read_rows(Path(arguments[0]))
    missing = offered() - {(row.method, row.adapter) for row in rows}
    if missing:
        sys.exit(f"no test has kept a row for {sorted(missing)}; the page is left as it is")
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])
