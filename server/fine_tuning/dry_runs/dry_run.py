"""The answer to a request for an estimate: what the job would come to, and what was found in its files."""

from server.fine_tuning.data_report import DataReport
from server.fine_tuning.estimates.schemas import Estimate


class DryRun(Estimate):
    """Not OpenAI's. Of a sample, the findings are the sample's; line numbers are those of the file."""

    data_gate: DataReport
