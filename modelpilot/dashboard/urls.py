from django.urls import path

from modelpilot.dashboard import setup

urlpatterns = [path("setup/<str:token>", setup.setup)]
