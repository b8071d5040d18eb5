"""A pod may sit on several devices, and a deployment may say on how many."""

import django.contrib.postgres.fields
from django.db import migrations, models

import modelpilot.fleet.models


class Migration(migrations.Migration):

    dependencies = [
        ('fleet', '0004_engines'),
    ]

    operations = [
        migrations.AddField(
            model_name='deployment',
            name='devices',
            field=models.IntegerField(null=True),
        ),
        migrations.AddField(
            model_name='pod',
            name='devices',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), default=modelpilot.fleet.models.on_cpu, size=None),
        ),
        # Pods of a version before may still run; nodes know them by these rows.
        migrations.RunSQL(
            "UPDATE fleet_pod SET devices = ARRAY[device]",
            "UPDATE fleet_pod SET device = devices[1]",
        ),
        migrations.RemoveField(
            model_name='pod',
            name='device',
        ),
    ]
