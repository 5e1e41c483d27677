"""An installation in, findings with remedies out.

Looks at everything in the order in which things fail in practice, changes nothing, and
shows no secret. Refuses to know terminals: findings are values.
"""

from backend.doctor.examination import examine
from backend.doctor.findings import Finding, problem
from backend.doctor.report import print_findings, print_json

__all__ = ["Finding", "examine", "print_findings", "print_json", "problem"]
