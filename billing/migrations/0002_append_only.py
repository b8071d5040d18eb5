from typing import Any

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION billing_transfer_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Transfers are never changed or deleted; book another one.';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_transfer
    FOR EACH ROW EXECUTE FUNCTION billing_transfer_is_append_only();
"""
CHANGEABLE = """
DROP TRIGGER append_only ON billing_transfer;
DROP FUNCTION billing_transfer_is_append_only();
"""


def open_system_accounts(apps: Any, schema_editor: Any) -> None:
    account = apps.get_model("billing", "Account")
    for code in ("revenue", "bonus_expense", "stripe_clearing", "dispute_loss"):
        account.objects.get_or_create(owner=None, code=code)


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [
        migrations.RunSQL(APPEND_ONLY, CHANGEABLE),
        migrations.RunPython(open_system_accounts, migrations.RunPython.noop),
    ]
