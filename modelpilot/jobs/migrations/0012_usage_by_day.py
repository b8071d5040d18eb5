from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0011_for_operators'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='usage',
            index=models.Index(fields=['day'], name='usage_by_day'),
        ),
    ]
