from hypothesis import settings

# Building and tracing real networks is slow at first call; time limits would only make noise.
settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")

pytest_plugins = ["pytester"]
