from configs import default


def get_config():
    config = default.get_config()
    config.dataset.name = "emoji"
    config.dataset.text_scaling = "raw"
    return config
