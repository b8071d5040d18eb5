from modelpilot.api import routes
from modelpilot.dashboard import urls as dashboard

urlpatterns = [*routes.urlpatterns, *dashboard.urlpatterns]
