"""How Django writes times where nobody says otherwise: the admin's lists and pages, in UTC."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i:s"
