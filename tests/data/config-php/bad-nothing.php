<?php
function wordpress_theme_setup() { add_theme_support("title-tag"); return ["fontSize" => 3]; }
