<?php
$api_key = "sk-x0123456789"; $text = "never closed;
