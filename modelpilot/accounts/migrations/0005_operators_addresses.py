"""Who has set a password by the first run's link may go on signing in by it.

Until 0.2.0 an account's address stood in its own row only, and only operators could have a
password. allauth would ask them to prove the address by mail first; the link proved more.
"""

from typing import Any

from django.db import migrations


def believe(apps: Any, schema_editor: Any) -> None:
    User = apps.get_model("accounts", "User")
    EmailAddress = apps.get_model("account", "EmailAddress")
    operators = User.objects.filter(is_staff=True, is_active=True, emailaddress__isnull=True)
    for operator in operators.exclude(password="").exclude(password__startswith="!"):
        EmailAddress.objects.create(
            user=operator, email=operator.email.lower(), verified=True, primary=True
        )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_people"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]

    operations = [migrations.RunPython(believe, migrations.RunPython.noop)]
